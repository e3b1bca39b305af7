/* The table of fates: phase x what happened x policy -> struct outcome and feedback for the site.
 * The only file that makes outcomes of deliveries. Pure; any thread. */
#ifndef SLUICE_ROUTER_OUTCOME_TABLE_H
#define SLUICE_ROUTER_OUTCOME_TABLE_H

#include "dns/route.h"
#include "queue/outcome.h"
#include "router/smtp_reply.h"

/* Failures without a reply. */
enum trouble {
    TROUBLE_CONNECT_REFUSED,
    TROUBLE_CONNECT_TIMEOUT,
    TROUBLE_CONNECT_FAILED, /* network */
    TROUBLE_TIMEOUT,        /* no reply within the phase's limit */
    TROUBLE_LOST,           /* EOF or reset */
    TROUBLE_BROKEN_REPLY,   /* not SMTP */
    TROUBLE_INJECTION,      /* octets between 220 and the handshake */
    TROUBLE_TLS_NOT_OFFERED,
    TROUBLE_TLS_FAILED,
    TROUBLE_TLS_POLICY,        /* the host must not be used for this delivery now */
    TROUBLE_NO_REQUIRETLS,     /* permanent if no host has it: 5.7.30 (RFC 8689 4.2.1) */
    TROUBLE_REQUIRETLS_FAILED, /* no TLS that the message could go through: 5.7.10 */
    TROUBLE_AUTH_UNPROTECTED,  /* the session may not see the secret: 4.7.11 */
    TROUBLE_AUTH_NOT_OFFERED,  /* no mechanism that we may use: 4.7.4 */
    TROUBLE_AUTH_FAILED,       /* the server's side of it is wrong: 4.7.0 */
    TROUBLE_NO_SMTPUTF8,       /* permanent if no host has it: 5.6.7 */
    TROUBLE_TOO_LARGE,         /* over the advertised SIZE: 5.3.4 */
    TROUBLE_FILE_GONE,
    TROUBLE_FILE_CHANGED,
    TROUBLE_FILE_READ,
    TROUBLE_NOT_RECORDED, /* the journal cannot store the intent */
    TROUBLE_SHUTDOWN,     /* RETURNED */
    TROUBLE_LONG_LINES,
    TROUBLE_LOOP,
    TROUBLE_EXPIRED,
    TROUBLE_NO_VIA,      /* X-Sluice-Via names no next hop: 4.3.5 */
    TROUBLE_BAD_ADDRESS, /* cannot be written in a command line: 5.1.3, the sender's 5.1.7 */
    NUM_TROUBLES
};

/* Whose trouble it is decides who hears of it. */
enum blame {
    BLAME_HOST,     /* went away or silent: routine on a connection that has delivered */
    BLAME_PROTOCOL, /* speaks no SMTP or no acceptable TLS */
    BLAME_US        /* file, journal, shutdown, the message itself: no other host can help */
};
enum blame outcome_blame(enum trouble trouble);

/* 4xx deferred, 5xx bounced (deferred before MAIL: that is the host's word, not the message's), the
 * class that the phase hopes for: delivered in PHASE_FINAL, OUTCOME_NONE (go on) before. Anything
 * else is a broken reply: deferred, and in doubt in PHASE_FINAL. */
struct outcome outcome_from_reply(enum outcome_phase phase, const struct smtp_reply *reply);
/* detail: for people, may be NULL ("connection refused"). In PHASE_FINAL whatever kept the reply
 * from us (LOST, TIMEOUT, BROKEN_REPLY, SHUTDOWN) is deferred and in doubt. */
struct outcome outcome_from_trouble(enum outcome_phase phase, enum trouble trouble,
                                    const char *detail);
/* Of a connect() that failed with that errno. */
enum trouble trouble_of_connect(int error);
struct outcome outcome_from_route(const struct route *route);
/* The recipient's lifetime is over: bounced with 5.4.7, quoting the last outcome. */
struct outcome outcome_expired(const struct outcome *last);

/* Bounced because of the demands that REQUIRETLS makes of a host. */
bool outcome_is_for_requiretls(const struct outcome *outcome);

/* Whether a host-level failure (before content, on a connection that has not delivered) should lead
 * to the next host. True for all before MAIL, what smtp_session_fits() says included; from MAIL to
 * DATA for 421 and for troubles without a reply, not for a recipient's own 4xx or 5xx. */
bool outcome_tries_next_host(const struct outcome *outcome);

#endif
