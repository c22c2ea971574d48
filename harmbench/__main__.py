"""`python -m harmbench`, which puts the current folder at the head of the import path. It is removed first."""

from harmbench._import_path import drop_current_folder

if __name__ == "__main__":
    drop_current_folder()
    from harmbench.cli import main

    main()
