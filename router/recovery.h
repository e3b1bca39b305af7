/* clang-format off */
/* What a restart does before any thread runs: the journal's live messages and the files of the
 * spool brought together.
 *
 *   journal says     file is            then
 *   deferred/xx/ID   there              it waits with its schedule
 *   deferred/xx/ID   still in new/      it is moved now: the crash came between record and rename
 *   hold/ID          there              it is held
 *   either           a copy is there    (same size and time: a restored backup) as if it were the file
 *   either           another is there   under that name: every recipient of it is tried
 *                                       (by inode number alone; when it is opened, by all of its identity)
 *   either           there twice        the second is left alone, with a word in the log
 *   hold/ID          elsewhere          it is moved now, for the same reason
 *   new/NAME         deferred/xx/ID     (an older journal was restored) it waits there
 *   new/NAME         there, the same    it waits, due now; pickup has a claim on it
 *   all known final  nowhere            removed before the crash; recorded so now, one word in the log
 *   anything else    nowhere            found out when it is due: cancelled, with a word in the log
 *   nothing          in deferred/       a new message, due now: a double is better than a loss
 *   nothing          in hold/           it is held: somebody put it there
 *   nothing          in new/            pickup finds it
 *
 *   told, or gone    report in tmp/     it is put into new/ now: the crash came before the rename
 *   not yet told     report in tmp/     dropped: it is made again
 */
/* clang-format on */
#ifndef SLUICE_ROUTER_RECOVERY_H
#define SLUICE_ROUTER_RECOVERY_H

#include "queue/waiting_set.h"

/* known: filled by the journal's replay, emptied here. Looks at the files, calls on_claim for each
 * that stays in new/, then moves all entries into table, but those that were finished: their
 * removal is appended to the journal. Ids of files that the journal does not know are noted in it:
 * who gives ids asks it afterwards (journal_highest_id). False with a line in why when a folder, a
 * file or a draft could not be looked at or put right: a start without that could send mail twice,
 * or leave some behind. */
bool recovery_finish(struct waiting_set *known, const struct spool *spool, struct table *table,
                     struct journal *journal,
                     void (*on_claim)(void *ctx, const struct file_identity *identity), void *ctx,
                     char why[SPOOL_WHY_MAX]) __attribute__((warn_unused_result));

/* The start took a file in deferred/ or hold/ for the recorded one by its inode number. This
 * compares all of its identity; another file is adopted as at the start. 0 or -errno. */
int recovery_look_closer(const struct spool *spool, struct table *table, struct waiting *waiting)
    __attribute__((warn_unused_result));

#endif
