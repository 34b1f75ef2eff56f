"""BLIP learns: each loss falls, captions become the titles, matching puts the right picture first."""

import copy
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mmprod.encoders.blip.caption import Style, caption
from mmprod.encoders.blip.model import Blip, save_blip
from mmprod.encoders.blip.objective import BlipObjective, Weights, blip_objective
from mmprod.encoders.blip.tiny import tiny_blip
from mmprod.encoders.blip.tokenizer import BlipTokenizer
from mmprod.encoders.losses.matching import matching_loss
from mmprod.encoders.training.batch import Batch, pixels
from mmprod.encoders.training.options import Options

COLOURS = {"red": (220, 20, 20), "green": (20, 160, 40), "blue": (20, 40, 220), "yellow": (240, 220, 30)}
KINDS = {"lamp": (4, 4, 14, 28), "rug": (4, 18, 30, 28), "plate": (12, 8, 26, 22)}
TITLES = [f"{colour} {kind} for the home" for colour in COLOURS for kind in KINDS]
OPTIONS = Options(queue_size=24, alpha_steps=20, label_smoothing=0.05, momentum=0.9)
STEPS, RATE = 300, 1e-3
Told = list[dict[str, float]]


def render(title: str) -> torch.Tensor:
    """A rendered product, uint8 [3, 32, 32]: its colour, in the place of its kind."""
    colour, kind = title.split()[:2]
    picture = Image.new("RGB", (32, 32), "white")
    picture.paste(COLOURS[colour], KINDS[kind])
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(32, 32, 3).permute(2, 0, 1)


def batch_of(tokenizer: BlipTokenizer) -> Batch:
    tokens = tokenizer(TITLES)
    numbers = torch.arange(len(TITLES))[:, None].expand(-1, 3).contiguous()
    pictures = torch.stack([render(title) for title in TITLES])
    return Batch(pictures, tokens[:, : int((tokens != 0).sum(1).max())], numbers)


def learn(model: Blip, objective: Any, optimizer: Any, batch: Batch, steps: range) -> Told:
    told = []
    for step in steps:
        losses = objective(model, batch, step)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        objective.after_step(model, step)
        told.append({name: loss.item() for name, loss in losses.items()})
    return told


@pytest.fixture(scope="module")
def tiny() -> tuple[Blip, BlipTokenizer]:
    return tiny_blip(TITLES, width=64)


@pytest.fixture(scope="module")
def trained(tiny: tuple[Blip, BlipTokenizer]) -> tuple[Blip, BlipTokenizer, Told]:
    """All three losses on twelve rendered products, until it knows them by heart."""
    model = copy.deepcopy(tiny[0]).train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    objective, batch, told = blip_objective(model, "retrieval", OPTIONS), batch_of(tiny[1]), []
    for step in range(1, STEPS + 1):
        told += learn(model, objective, optimizer, batch, range(step, step + 1))
        rates.step()
    return model.eval(), tiny[1], told


def test_every_loss_falls(trained: tuple[Blip, BlipTokenizer, Told]) -> None:
    first, last = trained[2][9], trained[2][-1]
    assert set(last) == {"itc", "itm", "lm"}
    assert last["itm"] < first["itm"] / 4
    assert last["lm"] < first["lm"] / 4
    assert last["itc"] < first["itc"] - 1  # soft targets and the queue keep it from 0


def test_captions_become_the_titles(trained: tuple[Blip, BlipTokenizer, Told]) -> None:
    model, tokenizer, _ = trained
    views = pixels(batch_of(tokenizer).pictures, model)
    made = caption(model, tokenizer, views, Style())
    assert [c.text for c in made] == TITLES
    assert all(-0.5 < c.log_probability < 0 for c in made)
    begun = caption(model, tokenizer, views[:1], Style(), "red lamp")
    assert begun[0].text == TITLES[0]


def test_matching_puts_the_right_picture_first(trained: tuple[Blip, BlipTokenizer, Told]) -> None:
    """Of the four pictures nearest to each title by vectors."""
    model, tokenizer, _ = trained
    batch, n = batch_of(tokenizer), len(TITLES)
    with torch.no_grad():
        states = model.image_states(pixels(batch.pictures, model))
        image = model.project_image(states, normalize=True)
        near = (model.encode_text(batch.tokens, normalize=True) @ image.T).topk(4, dim=1).indices
        logits = model.match(states[near.flatten()], batch.tokens.repeat_interleave(4, dim=0))
    best = logits.softmax(1)[:, 1].view(n, 4).argmax(dim=1, keepdim=True)
    assert near.gather(1, best).squeeze(1).tolist() == list(range(n))


def test_a_caption_is_the_same_in_a_batch_and_alone(tiny: tuple[Blip, BlipTokenizer]) -> None:
    model, tokenizer = tiny
    views = pixels(batch_of(tokenizer).pictures, model)
    style = Style(beams=4, max_tokens=8, repetition_penalty=1.3)
    together = caption(model, tokenizer, views, style, "red")
    alone = [caption(model, tokenizer, view[None], style, "red")[0] for view in views]
    assert [c.text for c in together] == [c.text for c in alone]
    scores = [c.log_probability for c in alone]
    assert [c.log_probability for c in together] == pytest.approx(scores, abs=1e-4)


def test_nucleus_follows_its_seed_alone(tiny: tuple[Blip, BlipTokenizer]) -> None:
    model, tokenizer = tiny
    views = pixels(batch_of(tokenizer).pictures, model)
    torch.manual_seed(5)
    first = caption(model, tokenizer, views, Style("nucleus", seed=3))
    expected = torch.rand(1, generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.rand(1), expected)  # the caller's own randomness is untouched
    assert caption(model, tokenizer, views, Style("nucleus", seed=3)) == first
    assert caption(model, tokenizer, views, Style("nucleus", seed=4)) != first


@pytest.mark.parametrize("method", ["beam", "nucleus"])
def test_lengths_are_kept(tiny: tuple[Blip, BlipTokenizer], method: Any) -> None:
    model, tokenizer = tiny
    views = pixels(batch_of(tokenizer).pictures, model)
    for low, high in ((1, 3), (6, 6), (0, 10 * tokenizer.context_length)):
        style = Style(method, min_tokens=low, max_tokens=high, seed=1)
        made = [c.text for c in caption(model, tokenizer, views, style, "red")]
        words = [len(tokenizer.prompt(text)[0]) - 2 for text in made]  # without [CLS] and the prompt
        assert len(words) == len(views)
        assert max(words) <= min(high, tokenizer.context_length)
        assert method == "nucleus" or min(words) >= low  # drawn letters may join into fewer words
    assert caption(model, tokenizer, views[:0], Style(method)) == []


def test_the_log_probability_is_that_of_the_words(trained: tuple[Blip, BlipTokenizer, Told]) -> None:
    """Word by word, each from those before it; the end of the caption counts as a word."""
    model, tokenizer, _ = trained
    batch = batch_of(tokenizer).rows(0, 1)
    views = pixels(batch.pictures, model)
    (made,) = caption(model, tokenizer, views, Style())
    with torch.no_grad():
        states = model.image_states(views)
        each = [
            model.caption_logits(states, batch.tokens[:, :i])[0, -1].log_softmax(0)[batch.tokens[0, i]].item()
            for i in range(1, batch.tokens.shape[1])
        ]
    assert made.log_probability == pytest.approx(sum(each) / len(each), abs=1e-5)


def test_hard_negatives_are_no_positives(tiny: tuple[Blip, BlipTokenizer]) -> None:
    """Of pairs 0 and 1, listings of one item, only the third can be the wrong partner."""
    model, tokenizer = tiny
    batch = batch_of(tokenizer).rows(0, 3)
    batch.identity[:] = torch.tensor([[7, 0, 0], [7, 1, 1], [8, 2, 2]])
    objective, asked = BlipObjective(model, OPTIONS, Weights(0, 1, 0)), []

    class Asked(Blip):
        def match(self, image_states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            asked.append((image_states, tokens))
            return super().match(image_states, tokens)

    watched = copy.deepcopy(model)
    watched.__class__ = Asked
    for step in range(1, 6):
        objective(watched, batch, step)
        states = watched.image_states(pixels(batch.pictures, watched))
        seen, read = asked.pop()
        rows = [int((states == state).flatten(1).all(1).nonzero()[0, 0]) for state in seen]
        columns = [int((batch.tokens == row).all(1).nonzero()[0, 0]) for row in read]
        pairs = list(zip(rows, columns, strict=True))
        assert pairs[:3] == [(0, 0), (1, 1), (2, 2)]
        assert len(pairs) == 9
        assert {(row == 2) + (column == 2) for row, column in pairs[3:]} == {1}  # never (0, 1) nor (1, 0)


def test_without_any_negative_the_pairs_alone_are_asked_about(tiny: tuple[Blip, BlipTokenizer]) -> None:
    model, tokenizer = tiny
    batch = batch_of(tokenizer).rows(0, 2)
    batch.identity[:] = 4
    loss = BlipObjective(model, OPTIONS, Weights(0, 1, 0))(model, batch, 1)["itm"]
    logits = model.match(model.image_states(pixels(batch.pictures, model)), batch.tokens)
    torch.testing.assert_close(loss, matching_loss(logits, torch.ones(2, dtype=torch.bool)))


def test_a_task_has_its_losses(tiny: tuple[Blip, BlipTokenizer]) -> None:
    model, tokenizer = tiny
    batch = batch_of(tokenizer)
    tasks = {"retrieval": {"itc", "itm", "lm"}, "caption": {"lm"}, "same-item": {"same_item"}}
    for task, names in tasks.items():
        assert set(blip_objective(model, task, OPTIONS)(model, batch, 1)) == names  # type: ignore[arg-type]
    whole = BlipObjective(model, OPTIONS, Weights(0, 0, 1))(model, batch, 1)["lm"]
    half = BlipObjective(model, OPTIONS, Weights(0, 0, 0.5))(model, batch, 1)["lm"]
    torch.testing.assert_close(half, whole / 2)
    assert not list(blip_objective(model, "caption", OPTIONS).state_dict())


def test_training_resumes_from_a_state_dict_bit_for_bit(tiny: tuple[Blip, BlipTokenizer]) -> None:
    batch = batch_of(tiny[1])

    def begin() -> tuple[Blip, Any, Any]:
        model = copy.deepcopy(tiny[0]).train()
        return model, blip_objective(model, "retrieval", OPTIONS), torch.optim.SGD(model.parameters(), 0.05)

    model, objective, optimizer = begin()
    learn(model, objective, optimizer, batch, range(1, 4))
    weights, kept = copy.deepcopy(model.state_dict()), copy.deepcopy(objective.state_dict())
    going_on = learn(model, objective, optimizer, batch, range(4, 7))

    again, fresh, optimizer = begin()
    again.load_state_dict(weights)
    fresh.load_state_dict(kept)
    assert learn(again, fresh, optimizer, batch, range(4, 7)) == going_on
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_queue_gets_every_part_of_an_accumulated_step(tiny: tuple[Blip, BlipTokenizer]) -> None:
    model, tokenizer = tiny
    batch, objective = batch_of(tokenizer), BlipObjective(model, OPTIONS, Weights(1, 0, 0))
    for part in (batch.rows(0, 5), batch.rows(5, 12)):
        objective(model, part, 1)
    assert len(objective.queue) == 0
    objective.after_step(model, 1)
    assert torch.equal(objective.queue.identity[:12], batch.identity)
    with torch.no_grad():
        features = model.encode_text(batch.tokens, normalize=True)
    torch.testing.assert_close(objective.queue.text[:12], features)


def test_gradient_checkpointing_gives_the_same_gradients(tiny: tuple[Blip, BlipTokenizer]) -> None:
    batch, found = batch_of(tiny[1]), []
    for enable in (False, True):
        model = copy.deepcopy(tiny[0]).train()
        model.set_grad_checkpointing(enable)
        sum(blip_objective(model, "retrieval", OPTIONS)(model, batch, 1).values()).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-6, rtol=1e-4)


_PROCESS = """
import sys, torch
from safetensors.torch import load_file, save_file
from mmprod.encoders.blip.model import load_blip
from mmprod.encoders.blip.objective import BlipObjective, Weights
from mmprod.encoders.training.batch import Batch
from mmprod.encoders.training.distributed import average_gradients, processes, rank, world
from mmprod.encoders.training.options import Options

folder = sys.argv[1]
with processes("cpu"):
    batch = Batch(**load_file(f"{folder}/batch.safetensors"))
    n = len(batch) // world()
    part = batch.rows(n * rank(), n * (rank() + 1))
    model, _ = load_blip(folder)
    objective = BlipObjective(model, Options(queue_size=24), Weights(1, 0, 1))
    for step in (1, 2):
        model.zero_grad()
        sum(objective(model, part, step).values()).backward()
        objective.after_step(model, step)
    average_gradients(model.parameters())
    if rank() == 0:
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        save_file({**found, "queue": objective.queue.image}, f"{folder}/found-{world()}.safetensors")
"""


@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(
    tiny: tuple[Blip, BlipTokenizer], tmp_path: Path
) -> None:
    """Gradients of ITC and LM, and the queue, after two steps; all titles are of one length."""
    save_blip(*tiny, tmp_path)
    batch = batch_of(tiny[1])
    save_file({name: t.contiguous() for name, t in vars(batch).items()}, tmp_path / "batch.safetensors")
    for count in (1, 2):
        shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        command = [sys.executable, "-c", _PROCESS, str(tmp_path)]
        each = [{**os.environ, **shared, "RANK": str(rank)} for rank in range(count)]
        started = [subprocess.Popen(command, env=env) for env in each]
        assert [process.wait(120) for process in started] == [0] * count
    one, two = (load_file(tmp_path / f"found-{count}.safetensors") for count in (1, 2))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=1e-3, msg=name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
