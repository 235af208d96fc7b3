root/.bashrc
