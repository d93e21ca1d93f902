"""Where a head starts: PCA whitening of what the backbone already sees."""

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch.utils.data import Dataset

from vpr.descriptors import BATCH
from vpr.models.structural import StructuralModel

IMAGES = 1000
FLOOR = 1e-3  # of the largest variance, added to every variance before it is evened out


def start_head(model: StructuralModel, images: Dataset, device: torch.device, seed: int) -> None:
    """Set the head so that the descriptors of some images are uncorrelated and of even variance.

    With a random head every image looks alike to a model that starts from random weights, and the contrastive losses
    hardly move; a pretrained backbone keeps what it knows. Dimensions beyond the backbone's width are random mixtures.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(images), min(IMAGES, len(images)), replace=False)).tolist()
    features = []
    model.train()
    for start in range(0, len(chosen), BATCH):
        batch = torch.stack([images[i] for i in chosen[start : start + BATCH]]).to(device)
        with torch.no_grad():
            features.append(model.summarise(batch).double().cpu().numpy())
    features = np.concatenate(features)
    pca = PCA(min(model.config.dim, *features.shape), random_state=0).fit(features)
    variance = pca.explained_variance_
    whitening = pca.components_ / np.sqrt(variance + FLOOR * variance[0])[:, None]
    if len(whitening) < model.config.dim:
        mixture, _ = np.linalg.qr(rng.standard_normal((model.config.dim, len(whitening))))
        whitening = mixture @ whitening
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(whitening))
        model.head.bias.copy_(torch.from_numpy(-whitening @ pca.mean_))
