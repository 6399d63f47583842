"""`python -m forebay.cli`, where the script is not on the path."""

from forebay.cli import main

if __name__ == "__main__":
    main()
