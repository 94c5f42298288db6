"""Volumes: directories that outlive the containers which mount them."""
