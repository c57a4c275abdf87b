"""The systems that dualrec is compared with, one a file."""
