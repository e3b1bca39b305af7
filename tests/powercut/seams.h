/* Between the router and its journal: the linker's --wrap puts these in front of the journal's
 * functions, so the product has no seam of its own.
 *
 * After each record that was stored, the stores are noted (simulated_stores()) and what the record
 * says; before and after each commit, that. Segments get the length of the simulation. */
#ifndef SLUICE_TESTS_POWERCUT_SEAMS_H
#define SLUICE_TESTS_POWERCUT_SEAMS_H

enum { SEAMS_SEGMENT_LEN = 16 * 1024 };

#endif
