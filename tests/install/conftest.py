"""The container image is built only where that is asked for: it takes minutes, root, buildah and debootstrap."""

import os

collect_ignore = [] if os.environ.get("TEST_IMAGE") == "1" else ["test_image.py"]
