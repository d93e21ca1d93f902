"""The name of this software on the package registry, where ``vpr`` is another project."""

DISTRIBUTION = "vpr-ot"


def install_extra(extra: str) -> str:
    """The command that installs an extra. Some shells read brackets as a pattern, hence the quotes.

    >>> install_extra("heic")
    "pip install 'vpr-ot[heic]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"
