"""Finds the known word a misspelled one was meant to be.

Candidates are found through an index of pairs of neighbouring letters, and only the few that share most of them are
compared letter by letter. So the cost hardly depends on how many words are known: a hostile object with thousands of
unknown keys costs a fraction of a millisecond for each.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from difflib import SequenceMatcher

_CANDIDATES = 4
_ALIKE = 0.6  # of SequenceMatcher.ratio: a swap of two letters in a word of four, as `paht` for `path`, gives 0.75
_LETTERS = 64  # more than any known word has


def _pairs(word: str) -> set[str]:
    framed = f"^{word}$"
    return {framed[at : at + 2] for at in range(len(framed) - 1)}


class Words:
    """A closed set of words."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = {word: _pairs(word.lower()) for word in sorted(words)}
        self._index: defaultdict[str, list[str]] = defaultdict(list)
        for word, pairs in self._words.items():
            for pair in pairs:
                self._index[pair].append(word)

    def __contains__(self, word: str) -> bool:
        return word in self._words

    def nearest(self, word: str) -> str:
        """The known word most like this one, empty if none is like it. Case does not matter."""
        meant = word[:_LETTERS].lower()
        pairs = _pairs(meant)
        shared = Counter(known for pair in pairs for known in self._index.get(pair, ()))
        dice = {known: 2 * count / (len(pairs) + len(self._words[known])) for known, count in shared.items()}
        candidates = sorted(dice, key=lambda known: (-dice[known], known))[:_CANDIDATES]
        ratios = {known: SequenceMatcher(None, known.lower(), meant, autojunk=False).ratio() for known in candidates}
        best = max(candidates, key=ratios.__getitem__, default="")
        return best if best and ratios[best] >= _ALIKE else ""
