"""What this software is called on the package registry, where the name ``vpr`` belongs to others."""

DISTRIBUTION = "vpr-ot"


def install_extra(extra: str) -> str:
    """The command that installs the packages of an extra; the quotes are for shells that read brackets as a pattern.

    >>> install_extra("heic")
    "pip install 'vpr-ot[heic]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"
