root/.bash_history
