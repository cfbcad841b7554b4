"""The learner's kernels in parts that can be compiled in processes of their own.

In: nothing. Out: compiled kernels. Each part runs its experts apart from the rest of the learner,
so that two processes compile nothing twice; the last one is the learner as a whole.
"""

from __future__ import annotations

import numpy as np

from ihomer import warm
from ihomer.drift.adwin import ADWIN
from ihomer.drift.structure import StructureMonitor
from ihomer.instances import Batch, Encoder, Event
from ihomer.learners.block import EXPERTS
from ihomer.learners.decision import JointDecision
from ihomer.learners.experts.forest import Forest
from ihomer.learners.experts.linear import LinearExpert
from ihomer.learners.experts.neighbours import NeighbourExpert
from ihomer.learners.experts.network import DenseFeatures, NetworkExpert
from ihomer.learners.experts.ridge import Gains, RidgeExpert
from ihomer.learners.ihomer import IHomer
from ihomer.learners.kernels.columns import pooled
from ihomer.learners.kernels.linear import fill_births
from ihomer.learners.kernels.linkage import average_linkage
from ihomer.learners.kernels.losses import tree_gains
from ihomer.learners.kernels.neighbours import index_rows
from ihomer.learners.kernels.rows import enter_hashes
from ihomer.learners.kernels.scaling import STRIDE
from ihomer.learners.kernels.trees_slots import enter_all
from ihomer.learners.partition.kinds import KINDS, make_partitioner
from ihomer.learners.postings import PostingLearner
from ihomer.learners.scaling import folded, raw_rows
from ihomer.warm import Part, Progress

# Seconds of CPU, as measured in one process, one part after the other.
PARTS = (
    Part("trees", f"{__name__}:trees", 38),
    Part("neighbours", f"{__name__}:neighbours", 21),
    Part("decision", f"{__name__}:decision", 33),
    Part("ridge and network", f"{__name__}:ridge_and_network", 17),
    Part("partition", f"{__name__}:partition", 18),
    Part("linear models and mixture", f"{__name__}:mixture", 19),
    Part("posting lists", f"{__name__}:posting_lists", 10),
)
WHOLE = Part("the learner as a whole", f"{__name__}:whole", 0)


def warm_up(progress: Progress = lambda *_: None, processes: int | None = None) -> None:
    """Compile the learner's kernels, or load them from the cache folder.

    Where kernels are missing there and the machine has cores to spare, Python processes are
    started that compile them and end; there are none when everything has been compiled before.

    Parameters
    ----------
    progress
        Called with the number of parts done, of all parts, and the name of one that is not done,
        at the end "done".
    processes
        At most so many compile at once; None: as many as this process has cores, up to four. With
        1 everything is compiled in this process.
    """
    warm.warm_up((*PARTS, WHOLE), progress, processes)


def _batch(encoder: Encoder, events: int = STRIDE) -> Batch:
    """Two features and two labels."""
    return encoder.encode(
        [
            Event(t, {"x": 1.0 + t % 7, "y": -0.5 * (t % 5)}, ["a"] if t % 2 else ["b"])
            for t in range(events)
        ]
    )


def trees() -> None:
    """Run a forest."""
    batch = _batch(Encoder())
    forest = Forest()
    forest.make_room(2, 2)
    members = np.arange(2, dtype=np.int32)
    out = np.empty((len(batch), 3), dtype=np.float32)
    forest.run(batch, members, members + np.int32(1), out)
    # Slots that move when there is no room left.
    enter_all(np.zeros(1, dtype=np.int32), np.zeros((0, 3), dtype=np.int32), members[:0])


def neighbours() -> None:
    """Search and vote."""
    batch = _batch(Encoder())
    rows, expert = raw_rows(batch), NeighbourExpert()
    expert.make_room(rows, batch, 2)
    logits = np.zeros((len(batch), 3), dtype=np.float32)
    expert.vote(expert.search(rows, batch), 0, np.zeros_like(logits), logits)
    index_rows(expert.state)  # as when the window moves


def decision() -> None:
    """Decide on whole label sets, and cluster by cluster."""
    batch = _batch(Encoder())
    scores = np.tile([0.75, 0.25], (len(batch), 1))
    joint = JointDecision()
    for _ in range(2):  # over whole sets, then by cluster
        joint.run(scores, batch, np.zeros(scores.shape, dtype=np.bool_))
        joint.regroup(np.arange(2, dtype=np.int32))
    joint.adapt()


def ridge_and_network() -> None:
    """Run the experts that look at all features at once."""
    batch = _batch(Encoder())
    members = np.arange(2, dtype=np.int32)
    rows = raw_rows(batch)
    out = np.zeros((len(batch), 16), dtype=np.float32)
    gains, ridge = Gains(), RidgeExpert(reserve=True)
    gains.make_room(2)
    ridge.make_room(2, 2)
    ridge.run(rows, gains.run(rows, batch.labelled), batch, members, members + np.int32(1), out)
    for part in (gains, ridge):  # as where memory is short
        part.fold(2)
    folded(rows, 2)
    features, network = DenseFeatures(), NetworkExpert()
    features.make_room(2)
    network.make_room(features.slots, 2)
    network.run(features.transform(batch), batch, out)


def posting_lists() -> None:
    """Learn as if there were many labels."""
    learner = PostingLearner()
    learner.run(_batch(Encoder()), 2)
    learner.forget_labels(np.zeros(1, dtype=np.int32))  # as when labels vanish


def mixture() -> None:
    """Run what is left: scaling, linear models, mixture, thresholds, detectors, partition."""
    _exercise(IHomer("macro-f1", without=[name for name in EXPERTS if name != "raw"]))
    average_linkage(np.zeros((2, 2)))
    # A change of the partition, and more label sets than a new decision has room for.
    pooled(np.zeros((0, 2), dtype=np.int64), np.zeros((1, 1)))
    Forest(1).derived(np.zeros(1, dtype=np.int32), np.zeros(1))
    enter_hashes(np.zeros(1, dtype=np.uint64), 0, np.zeros(1, dtype=np.int32))
    # A change of the label structure can only be seen once labels have their places.
    one = np.zeros(1, dtype=np.int32)
    StructureMonitor().update(np.array([0, 1]), one, one)
    ADWIN().update_many(np.zeros(1))
    # Clusters' trees on trial.
    logits, batch = np.zeros((STRIDE, 3), dtype=np.float32), _batch(Encoder())
    y = (batch.y_indptr, batch.y_indices, batch.labelled, batch.known)
    tree_gains(logits, logits, *y, np.zeros(STRIDE))
    # A label that returns.
    linear = LinearExpert(1.0, reserve=True)
    linear.make_room(1, 1)
    weights = linear.state.weights
    fill_births(weights, linear.state.squares, linear.reach, *weights.shape)


def partition() -> None:
    """Count, fit, and fit on the side; more pairs than a new table has room for."""
    sets = np.arange(100, dtype=np.int32)
    for kind in KINDS:
        partitioner = make_partitioner(kind)
        for _ in range(8):
            partitioner.update(np.array([0, 100]), sets)
        names = [str(label) for label in sets]
        partitioner.refit(names)
        partitioner.advantage(np.arange(0, 101, 10), sets, names)


def whole() -> None:
    """Run everything, as it is used."""
    _exercise(IHomer())


def _exercise(model: IHomer) -> None:
    """Show a model two strides of events, so that everything in it has run."""
    model.predict_learn(_batch(model.encoder, 2 * STRIDE))
    model.predict_one({"x": 1.0})
    model.learn_one({"x": 1.0}, {"a"})  # prepares calls of its own
