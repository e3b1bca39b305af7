/* A receiver in the recording process: what it takes is noted before its reply leaves.
 *
 * What a recipient gets is in its local part: ok-... 250; later-... 451 at first, then 250;
 * wait-... the same eight times; no-... 550; dotno-... 554 after the final dot; cut-... is taken,
 * but at first the connection is closed instead of the reply. */
#ifndef SLUICE_TESTS_POWERCUT_PEER_H
#define SLUICE_TESTS_POWERCUT_PEER_H

#include <stdint.h>

/* Listens on a free port of 127.0.0.1, which it returns, until the process ends. */
uint16_t peer_start(void);
/* Forgets who has been put off. */
void peer_forget(void);

#endif
