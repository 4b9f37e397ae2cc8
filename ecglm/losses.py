"""Objectives that more than one system uses. In a distributed run they see the batch of all processes."""

import torch
import torch.distributed as dist
import torch.nn.functional as F


class _GatherRows(torch.autograd.Function):
    """The rows of all processes in the order of ranks; the gradient goes back to where each row came from."""

    @staticmethod
    def forward(ctx, rows: torch.Tensor) -> torch.Tensor:
        count = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, count)
        ctx.counts = [int(n) for n in counts]
        # all_gather wants equal shapes; the last batch of an epoch may be shorter on some processes.
        padded = F.pad(rows, (0, 0, 0, max(ctx.counts) - len(rows)))
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, ctx.counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)  # a row takes part in the loss of every process
        start = sum(ctx.counts[: dist.get_rank()])
        return gradient[start : start + ctx.counts[dist.get_rank()]]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, (all rows, width), with gradient; unchanged where one process runs alone.

    Every process has to call it, and may bring another number of rows. If each then computes the same loss
    from the result, the mean of the processes' parameter gradients, which is what DistributedDataParallel
    takes, is the gradient that one process would get from the whole batch.

    Args:
        rows: (rows, width), of this process.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows
    return _GatherRows.apply(rows)


def clip_loss(
    left: torch.Tensor, right: torch.Tensor, temperature: float | torch.Tensor = 0.07
) -> torch.Tensor:
    """InfoNCE in both directions: row i of one side has to find row i of the other among all rows.

    The rows are those of all processes, and every process returns the loss of the whole batch; memory grows
    with their number squared. The two cross entropies are added, as MERL does; CLIP halves their sum.

    Args:
        left: (rows, width), e.g. ECG embeddings; normalised here.
        right: (rows, width), the partners.
        temperature: divides the cosines.

    Returns:
        A scalar, in nats.

    Raises:
        ValueError: if the shapes differ, since then nothing says which rows are partners.

    Source: Radford et al. 2021, arXiv:2103.00020; the sum and the temperature of 0.07, which is not learnt,
    from MERL's code.
    """
    if left.shape != right.shape:
        raise ValueError(
            f"clip_loss pairs row i with row i, but got {tuple(left.shape)} and {tuple(right.shape)}; "
            "give one text per ECG, or use sigmoid_loss with targets"
        )
    pairs = gather_rows(torch.cat([F.normalize(left, dim=-1), F.normalize(right, dim=-1)], dim=-1))
    left, right = pairs.chunk(2, dim=-1)  # (all rows, width) each
    logits = left @ right.T / temperature  # (all rows, all rows)
    partner = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)


def sigmoid_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Each pair of a recording and a text judged by itself: does this text hold for this recording?

    Unlike in `clip_loss` a recording may have many texts and a text many recordings, and identical texts are
    no negatives of each other. Nothing is gathered: no pair needs the other processes' rows to be judged.

    Args:
        logits: (recordings, texts), before the sigmoid; their scale and bias are the model's.
        targets: (recordings, texts), 1 where the text holds, 0 where not, between for mixed-up recordings;
            negative where it is unknown, and then the pair is left out.

    Returns:
        Mean binary cross entropy over the known pairs, in nats; 0 if there is none.

    Source: the pairwise loss of Zhai et al. 2023, arXiv:2303.15343, with many positives and a mean in place
    of their sum.
    """
    known = (targets >= 0).to(logits.dtype)
    losses = F.binary_cross_entropy_with_logits(logits, targets.clamp(min=0), reduction="none")
    return (known * losses).sum() / known.sum().clamp(min=1)
