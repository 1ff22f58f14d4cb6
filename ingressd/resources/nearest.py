"""Finds the known word a misspelled one was meant to be.

Words are compared by the pairs of neighbouring letters they share (Dice's coefficient), found through an index of
pairs: the cost depends on the length of the word and not on how many words are known, so that a hostile object with
thousands of unknown keys costs microseconds for each.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

_ALIKE = 0.4  # a swap of two letters in a word of four, as `paht` for `path`, gives 0.4


def _pairs(word: str) -> set[str]:
    framed = f"^{word.lower()}$"
    return {framed[at : at + 2] for at in range(len(framed) - 1)}


class Words:
    """A closed set of words."""

    def __init__(self, words: Iterable[str]) -> None:
        self._sizes: dict[str, int] = {}
        self._index: defaultdict[str, list[str]] = defaultdict(list)
        for word in sorted(words):
            pairs = _pairs(word)
            self._sizes[word] = len(pairs)
            for pair in pairs:
                self._index[pair].append(word)

    def __contains__(self, word: str) -> bool:
        return word in self._sizes

    def nearest(self, word: str) -> str:
        """The known word most like this one, empty if none is like it. Case does not matter."""
        pairs = _pairs(word)
        shared = Counter(known for pair in pairs for known in self._index.get(pair, ()))
        likeness = {known: 2 * count / (len(pairs) + self._sizes[known]) for known, count in shared.items()}
        best = max(sorted(likeness), key=likeness.__getitem__, default="")
        return best if best and likeness[best] >= _ALIKE else ""
