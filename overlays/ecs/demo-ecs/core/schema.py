"""Are the tables those of this application?"""
import sys
import time

from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor


def missing():
    """Names of migrations that the database lacks; asks it."""
    executor = MigrationExecutor(connection)
    return ['%s.%s' % (step.app_label, step.name) for step, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


def wait(who):
    """Returns when the tables are there, and says on stderr why it waits."""
    said = None
    while True:
        try:
            lacks = missing()
            if not lacks:
                break
            why = 'the tables are not there yet, or old: %s. The role migrate makes them.' % ', '.join(lacks[:3])
        except Error as error:
            why = 'the database does not answer: %s' % str(error).strip().splitlines()[0]
        finally:
            connection.close()
        if why != said:
            print('%s waits: %s' % (who, why), file=sys.stderr, flush=True)
            said = why
        time.sleep(2)
    if said:
        print('%s goes on' % who, file=sys.stderr, flush=True)
