"""Door for launchers that want a script; everything else is in `ecglm train`.

accelerate launch training/train.py merl/pretrain data.root=/data/ptb-xl
torchrun --nproc_per_node 2 training/train.py merl/pretrain data.root=/data/ptb-xl
"""

import sys

from ecglm.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
