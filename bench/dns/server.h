/* The responder's sockets: UDP and TCP on one address, on one loop. */
#ifndef SLUICE_BENCH_DNS_SERVER_H
#define SLUICE_BENCH_DNS_SERVER_H

#include "base/loop.h"
#include "bench/dns/reply.h"
#include "dns/route.h"

struct server;

struct server_options {
    struct host_address address;
    uint16_t port; /* 0: any that is free for both protocols */
    struct reply_options reply;
    bool is_verbose; /* a line on stdout for each question */
};

/* NULL with errno set. zone is borrowed. */
struct server *server_new(struct loop *loop, const struct server_options *options,
                          struct zone *zone) __attribute__((warn_unused_result));
void server_free(struct server *server);
uint16_t server_port(const struct server *server);
uint64_t server_num_queries(const struct server *server);

#endif
