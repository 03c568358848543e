"""Operations whose inputs alone do not say what they put out, by what they do.

What is on none of these lists, and not in pure.py, may do anything.
"""

# Registered as stateful, or they take a reference. They read what nothing else writes
# when all operations are on these lists, end a run that fails, or print.
STEADY_READERS = frozenset(
    """
    Assert BoostedTreesEnsembleResourceHandleOp BoostedTreesPredict
    BoostedTreesQuantileStreamResourceGetBucketBoundaries
    BoostedTreesQuantileStreamResourceHandleOp Case CheckNumerics CheckNumericsV2
    DatasetToSingleElement GroupByReducerDataset GuaranteeConst HashTable
    HashTableV2 If IsBoostedTreesEnsembleInitialized
    IsBoostedTreesQuantileStreamResourceInitialized IsVariableInitialized
    ListDataset LookupTableFind LookupTableFindV2 LookupTableSize LookupTableSizeV2
    MutableDenseHashTable MutableDenseHashTableV2 MutableHashTable
    MutableHashTableOfTensors MutableHashTableOfTensorsV2 MutableHashTableV2 Print
    PrintV2 RangeDataset ReadVariableOp ReduceDataset RefEnter RefExit RefIdentity
    RefMerge RefNextIteration RefSelect RefSwitch ResourceGather ResourceGatherNd
    SentencepieceDetokenizeOp SentencepieceIdToStringOp SentencepieceOp
    SentencepieceStringToIdOp SentencepieceVocabSizeOp SparseTensorSliceDataset
    StatefulPartitionedCall StatelessRandomGetAlg TensorDataset TensorSliceDataset
    VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2 While
    WordpieceTokenizeWithOffsets
    """.split()
)
# State that a run makes and that ends with it. Iterators that outlive a run come from
# other operations, which are on no list.
PER_RUN = frozenset(
    """
    AnonymousIterator AnonymousIteratorV2 AnonymousIteratorV3 DeleteIterator
    IteratorGetNext IteratorGetNextAsOptional IteratorGetNextSync MakeIterator
    TensorArray TensorArrayClose TensorArrayCloseV2 TensorArrayCloseV3
    TensorArrayConcat TensorArrayConcatV2 TensorArrayConcatV3 TensorArrayGather
    TensorArrayGatherV2 TensorArrayGatherV3 TensorArrayGrad TensorArrayGradV2
    TensorArrayGradV3 TensorArrayGradWithShape TensorArrayPack TensorArrayRead
    TensorArrayReadV2 TensorArrayReadV3 TensorArrayScatter TensorArrayScatterV2
    TensorArrayScatterV3 TensorArraySize TensorArraySizeV2 TensorArraySizeV3
    TensorArraySplit TensorArraySplitV2 TensorArraySplitV3 TensorArrayUnpack
    TensorArrayV2 TensorArrayV3 TensorArrayWrite TensorArrayWriteV2
    TensorArrayWriteV3
    """.split()
)
# What they put out differs from run to run, or in order from process to process: they
# draw numbers, pad images with noise, list the entries of a hash map, or leave memory
# as it is. They write to no variable.
RANDOM = frozenset(
    """
    AllCandidateSampler DecodeJSONExample ExtractGlimpse ExtractGlimpseV2 FakeParam
    FixedUnigramCandidateSampler FractionalAvgPool FractionalMaxPool
    LearnedUnigramCandidateSampler LogUniformCandidateSampler LookupTableExport
    LookupTableExportV2 Multinomial NonDeterministicInts
    ParameterizedTruncatedNormal RandomCrop RandomGamma RandomPoisson
    RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform
    RandomUniformInt SampleDistortedBoundingBox SampleDistortedBoundingBoxV2
    TensorMapStackKeys ThreadUnsafeUnigramCandidateSampler TruncatedNormal
    UniformCandidateSampler
    """.split()
)
# They read what is no part of a version: files, directories, clocks. They write to no
# variable.
OUTSIDE = frozenset(
    """
    FixedLengthRecordDataset FixedLengthRecordDatasetV2 GenerateVocabRemapping
    GetDeadline ImmutableConst LoadAndRemapMatrix MatchingFiles MatchingFilesDataset
    ReadFile Restore RestoreSlice RestoreV2 TFRecordDataset TFRecordDatasetV2
    TextLineDataset Timestamp
    """.split()
)
# They give tables and variables their contents. Allowed while a model is initialized.
INITIALIZERS = frozenset(
    """
    Assign AssignVariableOp InitializeTable InitializeTableFromDataset
    InitializeTableV2 LookupTableImport LookupTableImportV2 LookupTableInsert
    LookupTableInsertV2
    """.split()
)
