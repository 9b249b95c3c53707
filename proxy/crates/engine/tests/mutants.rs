//! Random damage to real bytes: what the fuzz targets check holds. A short run of the same checks;
//! `make fuzz` is the long one.

#[path = "../src/fuzzing/corpus.rs"]
mod corpus;
#[path = "../fuzz/src/lib.rs"]
mod invariants;

const ROUNDS: usize = 5_000;

fn check(name: &str) {
    let mut targets = invariants::TARGETS.iter();
    let Some(target) = targets.find(|target| target.name == name) else {
        unreachable!("{name} is listed");
    };
    corpus::check_mutants(&(target.seeds)(), target.check, ROUNDS);
}

macro_rules! claims {
    ($($claim:ident: $target:literal,)*) => {
        $(
            #[test]
            fn $claim() {
                check($target);
            }
        )*

        #[test]
        fn every_target_is_checked() {
            let names = invariants::TARGETS.map(|target| target.name);
            assert_eq!(names, [$($target),*]);
        }
    };
}

claims! {
    a_request_head_is_the_same_with_a_tail_and_no_prefix_is_one: "request_head",
    a_response_head_is_clean_and_no_prefix_is_one: "response_head",
    requests_say_the_same_in_pieces: "exchange",
    a_chunked_body_is_the_same_at_every_split: "chunked_body",
    hosts_and_paths_have_one_form: "target",
    trace_context_is_written_as_it_is_read: "trace_context",
    every_format_of_trace_context_goes_on_as_it_is_read: "propagators",
    a_proxy_header_is_bounded_and_written_as_it_is_read: "proxy_header",
    no_value_of_http2_ends_a_line: "http2_request",
    a_table_never_panics: "table",
    the_longest_match_is_that_of_comparing_with_each: "routing",
}
