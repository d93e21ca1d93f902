"""Repositories in torch.hub's cache, called as those of published models, with tiny networks and random weights.

They have modules of the same names, as the real ones do.
"""

from pathlib import Path

BACKBONE = """
import torch
from torch import nn


def backbone(seed, channels, stride):
    torch.manual_seed(seed)
    return nn.Conv2d(3, channels, stride, stride)
"""
MEGALOC = """
dependencies = ["torch"]
import torch
from torch import nn
from utils import backbone


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = backbone(1, 12, 14)

    def forward(self, images):
        found = self.patches(images)
        return found, found.mean((2, 3))


class MegaLoc(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Tokens()
        self.aggregator = nn.Linear(12, 40)

    def forward(self, images):
        found, token = self.backbone(images)
        assert found.view(len(found), 12, -1).shape[2]  # fails for channels-last memory
        return 3 * self.aggregator(token + found.amax((2, 3)))


def ENTRY():
    return MegaLoc()
"""
BOQ = """
dependencies = ["torch"]
import torch
from torch import nn
from utils import backbone


class VPRModel(nn.Module):
    def __init__(self, output_dim):
        super().__init__()
        self.backbone = backbone(2, 10, 14)
        self.aggregator = nn.Linear(10, output_dim)

    def forward(self, images):
        found = self.backbone(images).mean((2, 3))
        return self.aggregator(found), [found]


def get_trained_boq(backbone_name="resnet50", output_dim=16384):
    return VPRModel(output_dim)
"""
COSPLACE = """
dependencies = ["torch"]
from torch import nn
from utils import backbone


class GeoLocalizationNet(nn.Module):
    def __init__(self, fc_output_dim):
        super().__init__()
        self.backbone = nn.Sequential(backbone(3, 8, 32))
        self.aggregation = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, fc_output_dim))

    def forward(self, images):
        return self.aggregation(self.backbone(images))


def get_trained_model(backbone="ResNet50", fc_output_dim=2048):
    print("Returning CosPlace model")
    return GeoLocalizationNet(fc_output_dim)
"""
EIGENPLACES = """
dependencies = ["torch"]
import torch
from torch import nn


class GeoLocalizationNet_(nn.Module):
    def __init__(self, fc_output_dim):
        super().__init__()
        self.backbone = torch.hub.load("gmberton/cosplace", "get_trained_model", fc_output_dim=8).backbone
        self.aggregation = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, fc_output_dim))

    def forward(self, images):
        return self.aggregation(self.backbone(images))


def get_trained_model(backbone="ResNet50", fc_output_dim=2048):
    return GeoLocalizationNet_(fc_output_dim)
"""
CRICAVPR = """
dependencies = ["torch"]
import torch
from torch import nn
from backbone.utils import backbone


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = backbone(4, 8, 14)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return {"x_norm_clstoken": tokens.mean(1), "x_norm_patchtokens": tokens}


class CricaVPRNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Transformer()

    def forward(self, images):
        found = self.backbone(images)["x_norm_clstoken"]
        return torch.cat([found, found - found.mean(0)], 1)  # depends on the batch


def trained_model():
    return nn.DataParallel(CricaVPRNet())
"""
ANYLOC = """
dependencies = ["torch"]
import torch
from torch import nn
from utils import backbone


class Extractor:
    def __init__(self):
        self.dino_model = backbone(5, 6, 14)

    def __call__(self, images):
        return nn.functional.normalize(self.dino_model(images).flatten(2).transpose(1, 2), dim=-1)


class VLAD:
    def __init__(self):
        self.c_centers = torch.ones(4, 6)

    def generate(self, features):
        assert features.device == self.c_centers.device
        return (features.mean(0) - self.c_centers).reshape(1, -1)


class AnyLocVladDinov2(nn.Module):
    def __init__(self):
        super().__init__()
        self.dino_extractor, self.vlad = Extractor(), VLAD()

    def to(self, device):
        raise AssertionError("the published code returns None here")

    def forward(self, images):
        return torch.cat([self.vlad.generate(one) for one in self.dino_extractor(images)])


def get_vlad_model(backbone="DINOv2", domain="indoor"):
    assert domain == "urban"
    return AnyLocVladDinov2()
"""
DINOV2 = """
dependencies = ["torch"]


def dinov2_vitb14():
    raise AssertionError("not needed")
"""
REPOSITORIES = {
    "gmberton_MegaLoc_main": {"hubconf.py": MEGALOC.replace("ENTRY", "get_trained_model"), "utils.py": BACKBONE},
    "serizba_salad_main": {"hubconf.py": MEGALOC.replace("ENTRY", "dinov2_salad"), "utils.py": BACKBONE},
    "amaralibey_Bag-of-Queries_main": {"hubconf.py": BOQ, "utils.py": BACKBONE},
    "gmberton_cosplace_main": {"hubconf.py": COSPLACE, "utils.py": BACKBONE},
    "gmberton_eigenplaces_main": {"hubconf.py": EIGENPLACES},
    "Lu-Feng_CricaVPR_main": {"hubconf.py": CRICAVPR, "backbone/utils.py": BACKBONE},  # a package without __init__.py
    "Tong-Jin01_EDTformer_main": {"hubconf.py": CRICAVPR, "backbone/utils.py": BACKBONE},
    "AnyLoc_DINO_main": {"hubconf.py": ANYLOC, "utils.py": BACKBONE},
    "facebookresearch_dinov2_main": {"hubconf.py": DINOV2},
}


PLAIN_NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 16, 16)

    def forward(self, images):
        return self.backbone(images).mean((2, 3))
"""  # the class of a network, to which a test adds its entry


def write_repositories(hub: Path) -> Path:
    """Write all repositories into the folder of torch.hub's cache; returns it."""
    for name, files in REPOSITORIES.items():
        for file, text in files.items():
            (hub / name / file).parent.mkdir(parents=True, exist_ok=True)
            (hub / name / file).write_text(text)
    return hub
