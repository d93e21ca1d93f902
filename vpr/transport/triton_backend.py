"""placeholder"""


def runnable():
    return False
