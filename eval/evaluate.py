"""Door for launchers that want a script; everything else is in `ecglm eval`.

accelerate launch eval/evaluate.py classification/ptbxl_super --model DIR data.root=/data/ptb-xl
"""

import sys

from ecglm.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "eval")
    main()
