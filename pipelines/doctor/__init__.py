"""``pifa doctor``: what is installed, what is missing and the cure, devices, places, speed of each stage."""

from pipelines.doctor.page import print_page
from pipelines.doctor.run import Report, run_doctor

__all__ = ["Report", "print_page", "run_doctor"]
