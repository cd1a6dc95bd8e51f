"""`python -m imq` is the command `imq`."""

from imq.cli.main import run

if __name__ == "__main__":
    run()
