/*
 * The process that holds a pod's namespaces open: sleeps, ends when told to,
 * and reaps the orphans it inherits where pods share a process namespace.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void stop(int signal)
{
	(void)signal;
	_exit(0);
}

static void reap(int signal)
{
	(void)signal;
	while (waitpid(-1, 0, WNOHANG) > 0)
		;
}

int main(void)
{
	struct sigaction action = {.sa_handler = stop};
	sigaction(SIGINT, &action, 0);
	sigaction(SIGTERM, &action, 0);
	action.sa_handler = reap;
	action.sa_flags = SA_NOCLDSTOP;
	sigaction(SIGCHLD, &action, 0);
	for (;;)
		pause();
}
