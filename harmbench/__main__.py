"""`python -m harmbench`."""

from harmbench.cli import main

if __name__ == "__main__":
    main()
