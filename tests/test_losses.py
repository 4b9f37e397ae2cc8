"""The contrastive losses: the authors' numbers, and one process against two."""

from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ecglm.losses import clip_loss, gather_rows, sigmoid_loss

COUNTS = (5, 3)  # rows of each of the two processes: unequal, so the second one's partners start at an offset
TOLERANCE = dict(rtol=0, atol=1e-6)


def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    # In double precision: what two processes change is then far above what the order of a sum does.
    left, right = torch.randn(2, sum(COUNTS), 16, generator=generator, dtype=torch.float64)
    return left, right


def small_model() -> nn.Module:
    """No BatchNorm and no dropout: what those change is no matter of the gather."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8)).double()


def learn(model: nn.Module, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, dict]:
    loss = clip_loss(model(left), model(right), temperature=0.07)
    loss.backward()
    return loss.detach(), {
        name.removeprefix("module."): value.grad for name, value in model.named_parameters()
    }


def one_of_two(rank: int, folder: str) -> None:
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", rendezvous, timedelta(seconds=120), world_size=2, rank=rank)
    left, right = (side.split(COUNTS)[rank].clone().requires_grad_() for side in embeddings())
    loss = clip_loss(left, right)
    loss.backward()
    torch.save((loss.detach(), left.grad, right.grad), f"{folder}/embeddings-{rank}.pt")
    model = DistributedDataParallel(small_model())
    torch.save(learn(model, left.detach(), right.detach()), f"{folder}/model-{rank}.pt")
    del model  # or it outlives the group, and joins gloo's threads while it holds the lock that they wait for
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Their losses and gradients, as files. This process is the first: to spawn one takes seconds enough."""
    folder = tmp_path_factory.mktemp("two_processes")
    second = mp.get_context("spawn").Process(target=one_of_two, args=(1, str(folder)))
    second.start()
    one_of_two(0, str(folder))
    second.join()
    assert second.exitcode == 0
    return folder


def test_clip_loss_of_fixed_embeddings_is_the_same_in_one_and_two_processes(two_processes):
    left, right = (side.clone().requires_grad_() for side in embeddings())
    loss = clip_loss(left, right)
    loss.backward()
    parts = [torch.load(two_processes / f"embeddings-{rank}.pt") for rank in (0, 1)]
    for part in parts:
        torch.testing.assert_close(part[0], loss.detach(), **TOLERANCE)
    # Both processes hold the whole loss, so the gradient of their mean is half of what each row gathered.
    for one, two in ((left.grad, 1), (right.grad, 2)):
        torch.testing.assert_close(torch.cat([part[two] for part in parts]) / 2, one, **TOLERANCE)


def test_clip_loss_trains_a_model_alike_in_one_and_two_processes(two_processes):
    loss, gradients = learn(small_model(), *embeddings())
    for rank in (0, 1):
        other_loss, other_gradients = torch.load(two_processes / f"model-{rank}.pt")
        torch.testing.assert_close(other_loss, loss, **TOLERANCE)
        for name, gradient in gradients.items():
            torch.testing.assert_close(other_gradients[name], gradient, **TOLERANCE)


def test_clip_loss_equals_the_authors(merl_fixtures):
    numbers = np.load(merl_fixtures / "loss" / "io.npz")
    loss = clip_loss(
        torch.from_numpy(numbers["x"]), torch.from_numpy(numbers["y"]), float(numbers["temperature"])
    )
    assert loss.item() == pytest.approx(float(numbers["loss"]), abs=1e-6)


def test_clip_loss_of_perfect_pairs_is_small_and_of_swapped_pairs_large():
    rows = torch.eye(4)
    assert clip_loss(rows, rows) < 1e-4
    assert clip_loss(rows, rows.flip(0)) > 10


def test_clip_loss_refuses_sides_of_unequal_length():
    with pytest.raises(ValueError, match="one text per ECG"):
        clip_loss(torch.ones(3, 4), torch.ones(2, 4))


def test_gather_rows_leaves_a_lone_process_alone():
    rows = torch.ones(2, 3)
    assert gather_rows(rows) is rows


def test_sigmoid_loss_is_the_mean_over_pairs():
    logits = torch.tensor([[2.0, -1.0], [0.0, 3.0]])
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    expected = -torch.log(torch.tensor([[2.0, 1.0], [0.0, -3.0]]).sigmoid()).mean()
    torch.testing.assert_close(sigmoid_loss(logits, targets), expected)


def test_sigmoid_loss_leaves_out_unknown_pairs():
    logits, targets = torch.randn(3, 4), torch.randint(2, (3, 4)).float()
    unknown = targets.clone()
    unknown[:, 2] = -1
    kept = [0, 1, 3]
    expected = sigmoid_loss(logits[:, kept], targets[:, kept])
    torch.testing.assert_close(sigmoid_loss(logits, unknown), expected)
    assert sigmoid_loss(logits, torch.full_like(targets, -1)) == 0
