"""A training in memory: pictures, places, and a trainer that takes a second."""

import numpy as np
import torch
from torch.utils.data import Dataset

from vpr.base.processes import launch_fabric
from vpr.distill.losses.metric_loss import MetricLoss
from vpr.distill.losses.objective import Objective
from vpr.distill.sampling.places import Guard, Photos, Places
from vpr.distill.settings import DistillationConfig, ObjectiveConfig, StructuralConfig, TrainConfig
from vpr.distill.training.teacher_descriptors import GivenDescriptors
from vpr.distill.training.trainer import Trainer
from vpr.models.structural import ModelConfig, StructuralModel

CPU = torch.device("cpu")
PLACES, EACH = 8, 3
OBJECTIVE = ObjectiveConfig()
CONFIG = TrainConfig(
    steps=9, places=4, images_per_place=2, learning_rate=1e-2, augment="light", minings=2, checkpoint_every=2, seed=3
)


class Pictures(Dataset):
    """Random pictures in memory, alike within a place; Ctrl-C comes with the ``stop_at``-th that is asked for."""

    def __init__(self, stop_at=None):
        generator = torch.Generator().manual_seed(0)
        places = torch.randint(0, 256, (PLACES, 3, 32, 32), generator=generator)
        noise = torch.randint(-40, 40, (PLACES * EACH, 3, 32, 32), generator=generator)
        self.images = (places.repeat_interleave(EACH, 0) + noise).clamp(0, 255).to(torch.uint8)
        self.asked, self.stop_at = 0, stop_at

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked += 1
        if self.asked == self.stop_at:
            raise KeyboardInterrupt
        return self.images[index]


class Scores:
    """A validator that returns these scores, one after the other, and keeps the weights that it is given."""

    held_out = "somewhere"

    def __init__(self, scores=()):
        self.scores, self.seen, self.calibrated = list(scores), [], []

    def score(self, model):
        self.seen.append(weights_of(model))
        return {"score": self.scores[len(self.seen) - 1], "recall@1": 0.5}

    def calibrate(self, model):
        self.calibrated.append(model)
        return {}


def photos():
    """Places 100 m apart with a few pictures each, one metre apart."""
    number = np.arange(PLACES * EACH)
    utm = np.stack([100.0 * (number // EACH), 1.0 * (number % EACH)], 1)
    unknown, never = np.full(len(number), np.nan, np.float32), np.zeros(len(number), bool)
    return Photos(number.astype(str), utm, number * 0, unknown, never, never)


def scattered(count=60, seed=0):
    """Photos at random in two cities."""
    rng = np.random.default_rng(seed)
    return Photos(
        paths=np.array([f"{i}.jpg" for i in range(count)]),
        utm=rng.uniform(0, 120, (count, 2)),
        city=rng.integers(0, 2, count),
        heading=np.where(rng.random(count) < 0.2, np.nan, rng.uniform(0, 360, count)).astype(np.float32),
        night=rng.random(count) < 0.1,
        sideways=rng.random(count) < 0.3,
    )


def trainer_of(images, config=CONFIG, distillation=None, init=0, objective=OBJECTIVE):
    """A trainer of a small model from random weights."""
    torch.manual_seed(init)
    model = StructuralModel(ModelConfig(dim=8, grid=2, image_size=32))
    return Trainer(
        model,
        Places(photos(), Guard()),
        images,
        Objective(MetricLoss(objective, 8, PLACES * EACH), StructuralConfig(), distillation),
        config,
        launch_fabric(CPU),
    )


def train(checkpoint, images, config=CONFIG, teacher=None, validator=None, **more):
    """Weights after training, by name, and the losses of the last steps."""
    trainer = trainer_of(images, config, None if teacher is None else DistillationConfig(), **more)
    given = None if teacher is None else GivenDescriptors(teacher)
    losses = trainer.train(checkpoint, given, validator and validator.score)
    return weights_of(trainer.model), losses


def weights_of(model):
    """A copy of the weights by name."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)
