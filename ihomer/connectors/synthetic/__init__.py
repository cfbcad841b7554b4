"""Generated streams: a name and parameters in, events with planted labels out, the truth beside.

It is here so that whatever learns or detects can be tried where the right answer is known. A
stream is ``synthetic:NAME?key=value&...`` wherever a source is named, or `SyntheticSource` in
Python. The first events of a (name, parameters, seed) never change, `seek` goes anywhere at once,
and the events before a change are those of the stream without it.

**Names.** Labels follow features (in brackets: what a score is a function of):

- ``linear`` (a weighted sum), ``hyperplane`` (one whose weights rotate all the time), ``rbf``
  (nearness to centroids), ``tree`` (the leaf of a random tree), ``xor`` (the signs of two features)

Features follow labels:

- ``text`` (sparse words of labels and blocks), ``blocks`` (features are noise: for label structure)

**Parameters of all**, with defaults:

=================== ==========================================================================
``events=50000``    length; 0 = no end
``seed=0``          another seed is another stream
``labels=8``        at the start (``blocks``: 40, ``text``: 1000), named ``l00000`` and so on;
                    up to 100,000 where labels follow features, else up to 1,000,000
``blocks``          planted blocks; a block of 4 labels (``blocks``: 5, ``text``: 20), of 20 from
                    100 labels on
``two=.3``          share of events with two active blocks instead of one (``blocks``: .2)
``within=.5``       Zipf exponent over the labels of a block (``text``: .8)
``over=.5``         Zipf exponent over the blocks (``text``: .8)
``noise=.02``       share of positives that are replaced by a random label (``text``, ``blocks``:
                    .05)
=================== ==========================================================================

**Where labels follow features:**

==================== ==========================================================================
``features=30``      in all (``xor``: 10), named ``f00`` and so on (``blocks`` has 3)
``irrelevant``       of these, the last ones; a third, rounded down
``cardinality=2``    labels per event in the mean
``signal=4``         how much the features say, 0 = nothing
``dependence=1``     how much a label says about the next one of its block, beyond the features
``feature_noise=.1`` standard deviation of normal noise on the features that are shown
``turn=50000``       ``hyperplane``: events of a whole rotation, which is no change of the truth
``centroids=30``     ``rbf``
``depth=5``          ``tree``
==================== ==========================================================================

**Where features follow labels:**

=================== ==========================================================================
``one_block=1-4``   labels from the block of an event of one (``text``: 1-5)
``two_blocks=1-2``  labels from each block of an event of two
``words=50000``     ``text``: vocabulary, named ``w00000`` and so on
``label_words=8``   ``text``: words of each label
``block_words=12``  ``text``: words of each block
``label_draws=5``   ``text``: words that an event has of each of its labels
``block_draws=6``   ``text``: words that an event has of each of its blocks
``background=56``   ``text``: largest number of background words
``zipf=1``          ``text``: Zipf exponent of background words
=================== ==========================================================================

**Changes.** ``drift=HOW`` begins one, the keys behind it belong to it, the next ``drift=`` begins
the next; they add up in this order. HOW is ``none``, ``sudden``, ``gradual``, ``incremental``,
``recurring`` or ``blip`` (`ihomer.drift.schedule`). Where it is ``incremental``, scores and words
go smoothly from old to new, everything else in up to 16 parts.

=================== ==========================================================================
``of=concept``      what the features say is drawn anew (not for ``blocks``)
``of=structure``    ``what=exchange`` (labels swap blocks), ``merge`` or ``split`` (blocks);
                    how common each label is hardly changes
``of=priors``       ``what=rank`` (labels swap how common they are) or ``cardinality``
                    (``factor=1.5`` times the labels per event)
``of=labels``       ``what=born`` (new labels join blocks) or ``dying``
``of=features``     ``what=replace`` (values go on under new names), ``vanish`` or ``appear``
``at=.5``           first event; below 1 a share of all events
``width=.1``        events of a transition (``gradual``, ``incremental``, ``blip``), or a share
``period=.2``       events between two steps (``recurring``), or a share
``size``            share of the labels, blocks or features that it affects (`Drift`)
=================== ==========================================================================

Examples
--------
>>> from ihomer.connectors.uri import open_source
>>> source = open_source("synthetic:linear?labels=20&drift=gradual&at=0.3&width=2000"
...                      "&drift=sudden&of=structure&what=merge&at=40000")
>>> for change in source.truth.changes:
...     print(change.of, change.what, change.how, change.start, change.stop)
concept redraw gradual 15000 17000
structure merge sudden 40000 40000
>>> len(source.truth.partition(0)), len(source.truth.partition(40000))
(5, 4)
"""

from ihomer.connectors.synthetic.parameters import Drift, Parameters
from ihomer.connectors.synthetic.source import SyntheticSource
from ihomer.connectors.synthetic.truth import Change, Explanation, Truth

__all__ = ["Change", "Drift", "Explanation", "Parameters", "SyntheticSource", "Truth"]
