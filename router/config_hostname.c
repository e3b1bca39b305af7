/* Asks the system for its fully qualified name, once.
 * It blocks while it asks: that is why only start-up uses it. */
#include "router/config_hostname.h"

#include "base/memory.h"
#include "queue/address.h"

#include <netdb.h>
#include <pthread.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char *known_name;

static void find_name(void)
{
    char host[256] = "";
    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = 0;
    if (*host && getaddrinfo(host, NULL, &hints, &found) == 0 && found->ai_canonname &&
        strchr(found->ai_canonname, '.'))
        known_name = address_domain_to_ascii(bytes_of(found->ai_canonname));
    if (found)
        freeaddrinfo(found);
    if (!known_name)
        known_name = address_domain_to_ascii(bytes_of(host));
    if (!known_name)
        known_name = mem_strdup("localhost");
}

const char *config_system_hostname(void)
{
    pthread_once(&once, find_name);
    return known_name;
}
