"""The families of functions from features to labels, and the one from labels to words.

Each of the first kind says how features are drawn and offers a basis: numbers of which every
label and every block has a weighted sum of its own, its score, with mean 0 and variance 1 over
the stream. So one file can turn scores into label sets for all of them. The `version` of a
concept is 0 at the start and n + 1 behind the change of number n, which redraws it.
"""
