"""The command `ingressd` (`main`), a module for each of its commands, and the flags they share.

What flags say is turned into the options of other packages here; those know of no flag but by name, for messages.
"""
