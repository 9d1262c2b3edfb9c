"""How workers learn that something is due: Celery's broker, in processes of their own or in this one."""
