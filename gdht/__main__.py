"""`python -m gdht` is `gdht`."""

from gdht.cli import main

if __name__ == "__main__":
    main()
