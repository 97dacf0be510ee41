/* Purpose: see ticket_file.h. */
#include "ticket_file.h"

#include <fcntl.h>
#include <unistd.h>

int ff3_ticket_read(const char *file, char ret[FF3_TICKET_MAX + 1])
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char text[FF3_TICKET_MAX + 2];
	ssize_t n;
	size_t len;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof text - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	len = strcspn(text, "\n");
	if (len > FF3_TICKET_MAX || (text[len] == '\n' && text[len + 1] != '\0'))
		return -EBADMSG;
	memcpy(ret, text, len);
	ret[len] = '\0';
	return (int)len;
}
