"""Evaluation of a run on the test half of a labelled set."""

import logging
from dataclasses import replace
from pathlib import Path

from vpr.base.errors import VprError
from vpr.base.machine import choose_device
from vpr.base.run_folder import read_config
from vpr.datasets.labels import ClassSplit
from vpr.datasets.msls.options import ProtocolOptions
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.evaluator import Evaluator
from vpr.eval.labels.label_metrics import KS
from vpr.eval.options import RankingOptions
from vpr.models.builtin import resolve_run
from vpr.models.model_name import is_model_name
from vpr.retrieval.settings import Calibration, RerankOptions

log = logging.getLogger("vpr")

COMMAND = "vpr.retrieval"  # trains, and calibrates, on classes


def label_evaluator(
    run: Path, data: RetrievalSet, split: ClassSplit, ranking: RankingOptions, rerank: RerankOptions
) -> Evaluator:
    """An evaluator with rankings as deep as the metrics need: the largest k of the database, and all positives.

    Raises VprError if no query has a positive.
    """
    if not len(data.scored):
        raise VprError(f"{data.root}: no test class has two images, so nothing can be scored; add images")
    ranking, rerank = _label_defaults(ranking, rerank, run, split.training.fingerprint)
    if rerank.geometry is None:  # two photos of one class need not show one scene
        rerank = replace(rerank, geometry=0)
    full_depth = max([k for k in KS if k < len(data.database)] + [int(data.answers.counts.max())])
    return Evaluator(ranking, rerank, choose_device(ranking.device), full_depth)


def is_trained_on_classes(run: Path) -> bool:
    """Whether a run was trained and calibrated on class labels."""
    return not is_model_name(run) and read_config(resolve_run(run), COMMAND).get("command") == COMMAND


def labelled_folder(options: ProtocolOptions) -> Path | None:
    """``--data`` of the options of MSLS. Raises VprError if other options of MSLS are given."""
    if options != ProtocolOptions(data=options.data):
        raise VprError("--retrieval takes --data and --layout; leave the options of the MSLS protocol out")
    return options.data


def _label_defaults(
    ranking: RankingOptions, rerank: RerankOptions, run: Path, training: str
) -> tuple[RankingOptions, RerankOptions]:
    """The options, with the defaults for class labels.

    training: the fingerprint of the training half. A run that was trained on this half is not adapted to the test half.
    A run that was calibrated on streets gets mass 1 and the default weight: two photos of one object show the whole
    object, but two photos of one place show different parts of it.
    """
    config = {} if is_model_name(run) else read_config(resolve_run(run), COMMAND)
    if config.get("command") == COMMAND:
        data = config.get("data")
        same_set = isinstance(data, dict) and data.get("fingerprint") == training
        return (replace(ranking, adapt=False) if same_set and ranking.adapt is None else ranking), rerank
    if rerank.mass is None or ranking.weight is None:
        log.info("%s was not calibrated on classes: it is re-ranked with mass 1 and weight 5 (--mass, --weight)", run)
    mass, weight = rerank.mass, ranking.weight
    rerank = replace(rerank, mass=1.0 if mass is None else mass)
    return replace(ranking, weight=Calibration().weight if weight is None else weight), rerank
