"""The data set `images`: a folder of images without captions."""

from __future__ import annotations

from prefixcap.captioning.image_paths import find_images
from prefixcap.errors import PrefixcapError, shown
from prefixcap_datasets.entries import Entry, Pictures, Source, assemble
from prefixcap_datasets.image_files import FileDataset, existing_folder, is_utf8


def read_images(source: Source) -> FileDataset:
    """Open the data set; see `Images` for the arguments.

    Raises:
        PrefixcapError: If the folder is missing, cannot be listed or has no image, or an image's
            name is not in UTF-8 or is a link out of the folder.
    """
    root = existing_folder(source.path, "the images data set")
    pictures = Pictures(source, root)
    names = [path.relative_to(root).as_posix() for path in find_images([root])]
    for name in names:
        if not is_utf8(name):
            raise PrefixcapError(f"{root}: the name {shown(name)} is not in UTF-8: rename the file")
    entries = (
        Entry(image=pictures.item(name, index, root, str(root)), captions=(), split="", place=name)
        for index, name in enumerate(names)
    )
    return assemble(source, root, entries)
