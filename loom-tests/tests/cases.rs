//! Models of single mechanisms that are written beside them: see `src/model/arena_cases.rs`, `src/model/segment_cases.rs`.
#![cfg(memfs_loom)]

macro_rules! cases {
    ($floor:ident: $($case:ident)*) => {$(
        #[test]
        fn $case() {
            memfs::model::$floor::cases::$case();
        }
    )*};
}

cases! { arena:
    a_member_set_during_a_withdrawal_can_be_found
    two_withdrawals_and_a_set_elsewhere_below_the_same_word
    who_claims_a_member_sees_what_its_last_holder_did
    of_two_threads_that_fill_a_span_one_notes_it
    a_span_that_becomes_whole_under_a_trim_is_not_forgotten
    a_span_is_used_or_given_back_never_both
    two_charges_of_one_rest
    the_last_of_several_references_frees_after_all_use
    two_threads_and_room_for_one_span
    a_pool_slot_has_one_user
}

cases! { segment:
    appends_over_the_end_of_a_segment_keep_what_they_stored
    a_segment_that_dies_as_it_is_sealed_is_recycled_once
    a_hold_outlasts_death_and_recycling
}
