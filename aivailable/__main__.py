"""`python -m aivailable`: the command line, for jobs that know their Python and no PATH."""

from aivailable.cli.main import main

if __name__ == "__main__":
    main()
