"""Files of global descriptors as other tools write them."""

import h5py
import numpy as np

from vpr.cache import CacheSpec, DescriptorCache, create


def as_hloc(path, names, vectors):
    """As hloc's extract_features writes global descriptors: a group an image, nested where names hold slashes."""
    path = path / "global-feats-x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        for name, vector in zip(names, vectors):
            group = file.create_group(name)
            group.create_dataset("global_descriptor", data=vector)
            group.create_dataset("image_size", data=np.array([640, 480]))
    return path


def as_vme(path, names, vectors):
    """Two arrays and the lists of their images; a list names images within its own folder."""
    for part, folder in (("database", "database"), ("queries", "query")):
        rows = [row for row, name in enumerate(names) if f"/{folder}/" in name]
        np.save(path / f"{part}_descriptors.npy", vectors[rows])
        listed = "\n".join(names[row].removeprefix("train_val/") for row in rows)
        (path / f"{part}_images_paths.txt").write_text(listed + "\n")
    return path


def as_numpy(path, names, vectors):
    np.save(path / "a.npy", vectors.astype(np.float64))
    (path / "a.txt").write_text("\n".join(names))
    return path / "a.npy"


def as_ours(path, names, vectors):
    spec = CacheSpec("x", 0, vectors.shape[1])
    create(path / "a.h5", names, spec)
    cache = DescriptorCache(path / "a.h5", spec, writable=True)
    cache.write(np.arange(len(names)), vectors, np.empty((len(names), 0, vectors.shape[1]), np.float16))
    return path / "a.h5"


LAYOUTS = [as_hloc, as_vme, as_numpy, as_ours]
