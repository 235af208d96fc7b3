"""Files that are there whole or not at all."""
import os
import tempfile


def write(path, content, mode=0o600):
    """PATH becomes CONTENT in one step, and is on the disk when this returns."""
    handle, beside = tempfile.mkstemp(prefix='.%s.' % path.name, dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, path)
    except BaseException:
        os.unlink(beside)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
