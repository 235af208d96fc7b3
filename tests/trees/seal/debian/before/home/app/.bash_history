home/app/.bash_history
