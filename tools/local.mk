# Built in this folder:
