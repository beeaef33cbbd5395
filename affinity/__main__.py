"""`python -m affinity` is the command `affinity`."""

from affinity.cli import main

if __name__ == "__main__":
    main()
