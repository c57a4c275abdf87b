"""The systems that dualrec is compared with, each in a file of its own."""
