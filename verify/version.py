"""The version, in one place: the wheel, ``verify --version`` and what is kept between runs read it here."""

__version__ = "0.1.0"
