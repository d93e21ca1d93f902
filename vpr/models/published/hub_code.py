"""Running the code of others: an entry of a hubconf.py, in a folder or fetched by torch.hub.

Their modules have names such as ``utils`` and ``models``. They are imported without ours in sight, and are forgotten
afterwards, so that two published models can be used by one process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.models.imagenet import no_retries_without_network
from vpr.models.published.adapter import Adapter

log = logging.getLogger("vpr")

GITHUB = "https://github.com/"
COMMIT = re.compile(r"[0-9a-f]{40}")
BRANCHES = ("main", "master")  # default branches that torch.hub looks for
HUBCONF = "hubconf.py"
OWN = ("vpr", "torch", "__main__")  # never hidden from the code of others
PACKAGES = ("site-packages", "dist-packages")  # folders of packages


@dataclass(frozen=True)
class HubSource:
    """Code of others, and how it is called."""

    name: str  # for messages: what the user gave
    repository: str  # a folder, or OWNER/REPO[:REF]
    adapter: Adapter
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether the code is in a folder of the user."""
        return Path(self.repository).is_dir()

    @property
    def call(self) -> str:
        """The call of the entry, as text."""
        given = ", ".join(f"{name}={value!r}" for name, value in sorted(self.arguments.items()))
        return f"{self.adapter.entry}({given})"

    @property
    def ref(self) -> str:
        """The branch, tag or commit; empty for the default branch."""
        return self.repository.partition(":")[2]

    @property
    def owner(self) -> str:
        """Whose code it is, as a part of a sentence."""
        if self.is_folder:
            return f"the code in {self.repository}"
        repository, at = self.repository.partition(":")[0], f" at {self.ref}" if self.ref else ", newest revision"
        return f"code of {repository.partition('/')[0]} ({GITHUB}{repository}{at})"

    @property
    def cached(self) -> Path:
        """The folder of a repository in torch.hub's cache."""
        return cached_folder(self.repository)


def cached_folder(repository: str) -> Path:
    """The folder in torch.hub's cache that has, or will have, the code of OWNER/REPO[:REF]."""
    stem, _, ref = repository.partition(":")
    refs = [ref.replace("/", "_")] if ref else BRANCHES
    folders = [Path(torch.hub.get_dir()) / f"{stem.replace('/', '_')}_{ref}" for ref in refs]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


@dataclass(frozen=True, eq=False)
class LoadedEntry:
    """The network of an entry."""

    network: nn.Module  # on the CPU, in evaluation mode, with a part ``backbone`` if the adapter knows it
    code: str  # SHA-256 of the files of its code that were imported


def require_trust(source: HubSource, trusted: bool) -> None:
    """Raise VprError unless the user trusts the code; it names whose code it is."""
    if trusted:
        return
    more = "".join(f", and of {repository}" for repository in source.adapter.more_code)
    what = f"{source.owner}{more}" if source.adapter.name else "third-party code"
    problem = f"{source.name} is {what}, which can do anything on this machine"
    raise VprError(problem, thing=source.name, remedy="read it, and pass --trust to run it")


def load_entry(source: HubSource) -> LoadedEntry:
    """Call the entry. The user must have said that the code may run, see `require_trust`.

    The code comes from the folder, or from torch.hub's cache, or from GitHub at the first use. Raises VprError for any
    error of the code, and if it returns no network.
    """
    adapter = source.adapter
    where = source.repository if source.is_folder else f"{GITHUB}{source.repository.partition(':')[0]}"
    fetching = "" if source.is_folder else "; the first time they are downloaded"
    log.info("%s: loading the code of %s and its weights%s", source.name, where, fetching)
    kind = "local" if source.is_folder else "github"
    options = {
        "source": kind,
        "trust_repo": True,
        "verbose": False,
        "skip_validation": bool(COMMIT.fullmatch(source.ref)),
    }
    try:
        with (
            _own_imports() as imported,
            _kept_state(),
            no_retries_without_network(),
            contextlib.redirect_stdout(sys.stderr),
        ):
            for repository in adapter.more_code:
                torch.hub.list(repository, trust_repo=True, verbose=False)
            made = torch.hub.load(source.repository, adapter.entry, **options, **source.arguments)
            network = _prepare(made, adapter) if isinstance(made, nn.Module) else None
    except VprError:
        raise
    except (Exception, SystemExit) as error:  # the code of others may raise anything
        raise _load_error(source, error) from error
    if network is None:
        problem = f"{source.name} returns {type(made).__name__}, not a network"
        raise VprError(problem, thing=source.name, remedy="pass another entry")
    network = network.cpu().eval().requires_grad_(False)
    folders = {"": Path(source.repository) if source.is_folder else source.cached}
    folders |= {repository: cached_folder(repository) for repository in adapter.more_code}
    return LoadedEntry(network, _digest(folders, imported))


def _prepare(made: nn.Module, adapter: Adapter) -> nn.Module:
    return adapter.prepare(made.module if isinstance(made, nn.DataParallel) else made)


@contextlib.contextmanager
def _own_imports() -> Iterator[dict[str, ModuleType]]:
    """The modules that code of others imports, filled in at the end; they, and changes of the path, are undone.

    Modules that are neither packages of this environment nor ours are out of sight meanwhile. Nothing is compiled into
    the folders of others.
    """
    hidden = {name: module for name, module in [*sys.modules.items()] if _is_local(name)}
    before, path, writes_nothing = {*sys.modules} - {*hidden}, [*sys.path], sys.dont_write_bytecode
    imported: dict[str, ModuleType] = {}
    for name in hidden:
        del sys.modules[name]
    sys.dont_write_bytecode = True
    try:
        yield imported
    finally:
        sys.path[:], sys.dont_write_bytecode = path, writes_nothing
        for name in {*sys.modules} - before:
            if _is_local(name):
                imported[name] = sys.modules.pop(name)
        sys.modules.update(hidden)


@contextlib.contextmanager
def _kept_state() -> Iterator[None]:
    """Undo what code of others changes for the whole process: the working folder, torch's type of numbers, gradients.

    It sees no arguments of the command, which its own parser would read.
    """
    folder, dtype, threads, arguments = Path.cwd(), torch.get_default_dtype(), torch.get_num_threads(), sys.argv
    sys.argv = arguments[:1]
    try:
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            yield
    finally:
        sys.argv = arguments
        os.chdir(folder)
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)


def _is_local(name: str) -> bool:
    """Whether a module is no package of the environment: of the working folder, in development, or of a hubconf.py."""
    top = name.partition(".")[0]
    if top in OWN or top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return False
    module = sys.modules[name]
    folders = getattr(module, "__path__", None) or ()  # of a package without an __init__.py
    place = getattr(module, "__file__", None) or next((str(folder) for folder in folders), None)
    if not place:  # it is no file, as the parts of compiled packages
        return False
    return not any(part in _environment() or part.name in PACKAGES for part in Path(place).parents)


@functools.cache
def _environment() -> set[Path]:
    """The folders of the packages of this Python."""
    paths = sysconfig.get_paths()
    return {Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


def _digest(folders: Mapping[str, Path], imported: Mapping[str, ModuleType]) -> str:
    """SHA-256 of the hubconf.py of each folder, by its name, and of the files of modules, by their names."""
    named = {f"{HUBCONF} {name}": folder / HUBCONF for name, folder in folders.items()}
    named |= {name: Path(str(getattr(module, "__file__", None))) for name, module in imported.items()}
    digest = hashlib.sha256()
    for name, file in sorted((name, file) for name, file in named.items() if file.is_file()):
        content = file.read_bytes()
        digest.update(f"{name} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()


def _load_error(source: HubSource, error: BaseException) -> VprError:
    """The error of an entry that fails, with what is missing."""
    problem = f"{source.name} cannot be loaded ({type(error).__name__}: {first_line(error)})"
    if isinstance(error, ModuleNotFoundError) and error.name:
        remedy = f"install what its code imports: pip install {error.name.partition('.')[0].replace('_', '-')}"
    elif source.is_folder:
        remedy = "check its hubconf.py" + _weights_text(source)
    else:
        repository = source.repository.partition(":")[0]
        remedy = f"the first time needs an internet connection; without one, put {GITHUB}{repository} into "
        remedy += str(source.cached) + _weights_text(source)
    return VprError(problem, thing=source.name, remedy=remedy)


def _weights_text(source: HubSource) -> str:
    """Where the weights belong that cannot be downloaded."""
    checkpoints, text = Path(torch.hub.get_dir()) / "checkpoints", ""
    for repository in source.adapter.more_code:
        text += f", {GITHUB}{repository} into {cached_folder(repository)}"
    for address in source.adapter.weights:
        place = f"{checkpoints}" if "huggingface.co" not in address else "the cache of huggingface_hub (hf download)"
        text += f", {address} into {place}"
    return text


def first_line(error: BaseException) -> str:
    """The first line of an error of others, shortened."""
    return (str(error).splitlines() or [""])[0][:300]
