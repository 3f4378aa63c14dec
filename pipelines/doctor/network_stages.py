"""Stages with PyTorch, with random weights: the visualization layer, alignment, a training step."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import nn

from pifa_data.boxes import square_of
from pifa_data.camera import crop_camera
from pifa_data.images import crop_image
from pifa_model.checkpoint import Checkpoint, Header, MorphableReference
from pifa_model.config import load_config
from pifa_model.engine import TorchEngine
from pifa_model.inference import Aligner
from pifa_model.losses import AlignmentLoss
from pifa_model.network import Network
from pifa_model.optimizer import make_optimizer
from pifa_model.shape import Landmarks
from pipelines.checkpoints import computes_bf16
from pipelines.doctor.data_stages import KIND, SCHEME, Subject
from pipelines.doctor.timing import Stage, Work

PRESETS = ("small", "compact")
SIZE, GROW, BATCH = 114, 1.4, 32


class Trainee:
    """A preset's network that starts with the face of the picture, so that its maps have a whole face in them."""

    def __init__(self, subject: Subject, preset: str, device: str) -> None:
        self.subject, self.preset, self.device = subject, preset, device
        self.config, self.model = load_config(preset), subject.model
        with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU; the caller's random numbers stay
            torch.manual_seed(0)
            network = Network(self.config.network, self.model, SIZE, len(self.model.landmarks[SCHEME]))
        self.square = square_of(subject.box, GROW, SIZE)
        params = subject.params[0].copy()
        params[:8] = crop_camera(params[:8].reshape(2, 4), self.square).ravel()
        network.initial.copy_(torch.from_numpy(params))
        self.network = network.to(device)

    @torch.no_grad()
    def draw(self) -> Work:
        """The visualization layer, as later blocks call it."""
        self.network.eval()
        params = self.network.initial.expand(BATCH, -1).contiguous()
        return self._waiting(torch.inference_mode()(lambda: self.network.draw(params, 1)))

    def align(self, batch: int) -> Work:
        """Faces of a decoded image, boxes given; the crops are cut too."""
        header = Header(
            preset=self.preset,
            network=self.config.network,
            config=self.config,
            scheme=SCHEME,
            landmark_kind=KIND,
            input_size=SIZE,
            boxes="tight",
            grow=GROW,
            morphable=MorphableReference(name=self.model.name, fingerprint=self.model.fingerprint),
        )
        aligner = Aligner(TorchEngine(Checkpoint(header, self.network.eval(), self.model), self.device))
        picture, boxes = self.subject.picture, [self.subject.box] * batch
        return self._waiting(lambda: aligner(picture, boxes))

    def step(self) -> Work:
        """An optimiser step of all blocks on the device's fastest arithmetic, data already there."""
        network, device = self.network.train().requires_grad_(True), self.device
        landmarks = Landmarks(self.model, SCHEME).to(device)
        loss_of = AlignmentLoss(self.config.losses, torch.ones(8 + self.model.n_coefficients)).to(device)
        optimizer = make_optimizer(self.config.optimizer, network.parameters())
        crop = crop_image(self.subject.picture, self.square)
        images = torch.from_numpy(np.stack([crop] * BATCH)).permute(0, 3, 1, 2).to(device)
        truth = network.initial.expand(BATCH, -1).clone()
        marching = torch.full((BATCH,), KIND == "2d", device=device)
        labels = landmarks(truth, marching)
        visibility = torch.full(labels.shape[:2], 2, device=device)
        bf16 = computes_bf16(device)

        def work() -> None:
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                out = network(images)
                loss = loss_of(out.params, truth, labels, visibility, marching, landmarks, spread=out.spread)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), self.config.training.clip)
            optimizer.step()

        return self._waiting(work)

    def _waiting(self, work: Work) -> Work:
        """A work that returns when the device has done it."""
        if self.device == "cpu":
            return work

        def waits() -> None:
            work()
            torch.cuda.synchronize()

        return waits


def network_stages(subject: Subject) -> list[Stage]:
    """The stages on the CPU, then on CUDA where it is there."""

    @cache
    def trainee(preset: str, device: str) -> Trainee:
        return Trainee(subject, preset, device)

    def made(preset: str, device: str, prepare: Callable[[Trainee], Work]) -> Callable[[], Work]:
        return lambda: prepare(trainee(preset, device))

    found = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        found.append(Stage("visualization layer", device, BATCH, "maps", made("compact", device, Trainee.draw)))
        for preset in PRESETS:
            for batch in (1, BATCH):
                align = made(preset, device, partial(Trainee.align, batch=batch))
                found.append(Stage(f"align, {preset}, batch {batch}", device, batch, "faces", align))
            step = made(preset, device, Trainee.step)
            found.append(Stage(f"training step, {preset}, batch {BATCH}", device, BATCH, "crops", step))
    return found
